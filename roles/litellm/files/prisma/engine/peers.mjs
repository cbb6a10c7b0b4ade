// Who is at the other end of a loopback connection. The engine runs any SQL that it is sent and asks for no password,
// and every user of the host can reach its port: only the user that it runs as is served.
import { readFileSync } from "node:fs";
import { endianness } from "node:os";

/** "127.0.0.1", 5432 -> "0100007F:1538", as /proc/net/tcp writes it: the address in the byte order of the machine. */
export function procAddress(address, port) {
  const bytes = address.split(".").map((byte) => Number(byte).toString(16).padStart(2, "0"));
  if (endianness() === "LE") bytes.reverse();
  return `${bytes.join("")}:${port.toString(16).padStart(4, "0")}`.toUpperCase();
}

/**
 * User of the socket that the peer has.
 * @param {string} table content of /proc/net/tcp
 * @param {import("node:net").Socket} socket accepted connection
 * @returns {number | undefined} undefined when there is no such socket on this host
 */
export function peerUser(table, { remoteAddress, remotePort, localAddress, localPort }) {
  const ends = ` ${procAddress(remoteAddress, remotePort)} ${procAddress(localAddress, localPort)} `;
  const line = table.split("\n").find((row) => row.includes(ends));
  // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid
  return line === undefined ? undefined : Number(line.trim().split(/\s+/)[7]);
}

/** Ends a connection of another user. */
export function refuseStrangers(socket) {
  const user = socket.remoteAddress && peerUser(readFileSync("/proc/self/net/tcp", "latin1"), socket);
  if (user !== process.getuid()) socket.destroy();
}
