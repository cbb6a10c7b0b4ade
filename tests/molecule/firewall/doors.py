"""Listen on TCP and UDP ports, IPv4 and IPv6, and say hello to whoever gets through."""

import selectors
import socket

TCP, UDP = (4321, 4000, 5432, 8080, 8443), (7007, 7070)

doors = selectors.DefaultSelector()
for kind, ports in ((socket.SOCK_STREAM, TCP), (socket.SOCK_DGRAM, UDP)):
    for port in ports:
        door = socket.socket(socket.AF_INET6, kind)
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            door.listen(64)
        doors.register(door, selectors.EVENT_READ)
while True:
    for key, _ in doors.select():
        if key.fileobj.type == socket.SOCK_DGRAM:
            key.fileobj.sendto(b"hello", key.fileobj.recvfrom(100)[1])
        else:
            visitor, _ = key.fileobj.accept()
            visitor.sendall(b"hello")
            visitor.close()
