"""What a host's Tailscale node is, what it should be, and the one step between. Pure: no program is run here.

Sources: `tailscale status --json` and `tailscale debug prefs` of 1.82 to 1.102. BackendState together with Self.Expired
decides. `tailscale ip`, the exit status of `status` and Self.Online all look well on a node that nobody can reach.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

DEFAULT_SERVER = "https://controlplane.tailscale.com"
SYNONYMS = {"https://login.tailscale.com": DEFAULT_SERVER, "": DEFAULT_SERVER}
TAILNET = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))
NETFILTER = {0: "off", 1: "nodivert", 2: "on"}
"""The numbers in the preferences: tailscale.com/types/preftype."""
UNSETTLED = ("NoState", "Starting", "")
"""The daemon has just been started, or does not reach its control server."""
NEVER = datetime(1, 1, 1, tzinfo=timezone.utc)


class TailscaleProblem(Exception):
    """What stops the role, as sentences for the operator: what is wrong, which variable, what to do."""


@dataclass(frozen=True)
class Prefs:
    """The preferences of the daemon that the role looks after."""

    login_server: str = DEFAULT_SERVER
    hostname: str = ""
    ssh: bool = False
    accept_dns: bool = True
    accept_routes: bool = False
    advertise_routes: tuple[str, ...] = ()
    operator: str = ""
    netfilter_mode: str = "on"


@dataclass(frozen=True)
class Wish(Prefs):
    """The operator's settings; tags with `tag:`, an empty hostname is `own_name`, the host's."""

    own_name: str = ""
    tags: tuple[str, ...] = ()
    userspace: bool = False
    version: str = ""
    has_key: bool = False
    has_oauth: bool = False
    force_reauth: bool = False
    accept_risk: bool = False


@dataclass(frozen=True)
class Node:
    """What the daemon says: BackendState, addresses, tags, end of the node key (None: it has none), TUN, warnings."""

    state: str
    expired: bool = False
    online: bool = False
    addresses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    key_expiry: datetime | None = None
    tun: bool = True
    dns_name: str = ""
    version: str = ""
    health: tuple[str, ...] = ()

    @property
    def ipv4(self) -> str:
        """Its IPv4 address in the tailnet, or nothing."""
        return next((address for address in self.addresses if "." in address), "")

    @property
    def ipv6(self) -> str:
        """Its IPv6 address in the tailnet, or nothing."""
        return next((address for address in self.addresses if ":" in address), "")

    @property
    def logged_in(self) -> bool:
        """Whether no login is needed, as far as the daemon knows."""
        return self.state in ("Running", "Stopped", "Starting", "NoState") and not self.expired


@dataclass(frozen=True)
class Plan:
    """The one step to take.

    action: none, wait (the daemon has not settled), set (preferences of a running node), up (start, no login), login.
    reasons: why, for the operator. flags: for `set` the preferences that differ, for `up` and `login` all of them.
    """

    action: str
    reasons: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)


def server_of(url: str | None) -> str:
    """A control server's URL in the one form that can be compared."""
    plain = (url or "").rstrip("/")
    return SYNONYMS.get(plain, plain)


def moment(text: str | None) -> datetime | None:
    """A time of Go's JSON; None for none and for Go's zero time."""
    if not text:
        return None
    # Go writes nanoseconds, Python 3.10 reads none.
    whole = text.replace("Z", "+00:00").split(".")
    zone = whole[1].lstrip("0123456789") if len(whole) > 1 else ""
    parsed = datetime.fromisoformat(whole[0] + zone)
    return None if parsed.year <= NEVER.year else parsed.astimezone(timezone.utc)


def node_of(status: Mapping[str, Any]) -> Node:
    """Read `tailscale status --json`."""
    own = status.get("Self") or {}
    return Node(
        state=str(status.get("BackendState") or ""),
        expired=bool(own.get("Expired")),
        online=bool(own.get("Online")),
        addresses=tuple(status.get("TailscaleIPs") or ()),
        tags=tuple(sorted(own.get("Tags") or ())),
        key_expiry=moment(own.get("KeyExpiry")),
        tun=bool(status.get("TUN", True)),
        dns_name=str(own.get("DNSName") or "").rstrip("."),
        version=str(status.get("Version") or "").split("-")[0],
        health=tuple(status.get("Health") or ()),
    )


def prefs_of(document: Mapping[str, Any]) -> Prefs:
    """Read `tailscale debug prefs`."""
    mode = document.get("NetfilterMode", 2)
    return Prefs(
        login_server=server_of(document.get("ControlURL")),
        hostname=str(document.get("Hostname") or ""),
        ssh=bool(document.get("RunSSH")),
        accept_dns=bool(document.get("CorpDNS")),
        accept_routes=bool(document.get("RouteAll")),
        advertise_routes=tuple(sorted(document.get("AdvertiseRoutes") or ())),
        operator=str(document.get("OperatorUser") or ""),
        netfilter_mode=mode if isinstance(mode, str) else NETFILTER.get(mode, str(mode)),
    )


def over_tailnet(ssh_connection: str) -> bool:
    """Whether SSH_CONNECTION (client address, port, server address, port) names an address of a tailnet."""
    words = ssh_connection.split()
    for word in (words[0], words[2]) if len(words) == 4 else ():
        try:
            address = ipaddress.ip_address(word.split("%")[0])
        except ValueError:
            continue
        mapped = getattr(address, "ipv4_mapped", None)
        if any((mapped or address) in network for network in TAILNET):
            return True
    return False


def named(wish: Wish, prefs: Prefs) -> Wish:
    """`wish` with the host's own name instead of none for a node that was given a name.

    A daemon whose name is taken away keeps it until it is started again.
    """
    return replace(wish, hostname=wish.own_name) if prefs.hostname and not wish.hostname else wish


def flags_of(wish: Wish) -> dict[str, str]:
    """The preferences as flags of `tailscale set`, which are flags of `tailscale up` as well."""
    return {
        "hostname": wish.hostname,
        "ssh": str(wish.ssh).lower(),
        "accept-dns": str(wish.accept_dns).lower(),
        "accept-routes": str(wish.accept_routes).lower(),
        "advertise-routes": ",".join(wish.advertise_routes),
        "operator": wish.operator,
        "netfilter-mode": wish.netfilter_mode,
    }


def drift_of(prefs: Prefs, wish: Wish) -> dict[str, str]:
    """The flags whose preferences are not what the operator wants. Tags and login server need a login, not a flag."""
    is_now = {
        **flags_of(Wish(**{name: getattr(prefs, name) for name in Prefs.__dataclass_fields__})),
        "advertise-routes": ",".join(sorted(prefs.advertise_routes)),
    }
    wanted = {**flags_of(wish), "advertise-routes": ",".join(sorted(wish.advertise_routes))}
    return {flag: value for flag, value in flags_of(wish).items() if wanted[flag] != is_now[flag]}


def login_reason(node: Node, prefs: Prefs, wish: Wish) -> str:
    """Why a login is needed, or nothing. A key that changed in the inventory is no reason."""
    if wish.force_reauth:
        return "tailscale_force_reauth is set"
    if node.expired:
        return "its node key has expired"
    if node.state == "NeedsLogin":
        return "it is logged out or was never joined"
    if prefs.login_server != server_of(wish.login_server):
        return f"its control server is {prefs.login_server}, not {server_of(wish.login_server)}"
    return ""


def refuse_risk(what: str, wish: Wish, on_tailnet: bool) -> None:
    """Raise a problem if this would cut the connection that Ansible itself uses."""
    if on_tailnet and not wish.accept_risk:
        raise TailscaleProblem(
            f"Ansible is connected over the tailnet, and {what} can cut that connection. Connect by another address, "
            "or set tailscale_accept_risk to lose-ssh."
        )


def plan_of(node: Node, prefs: Prefs, wish: Wish, on_tailnet: bool) -> Plan:
    """Decide the one step from `node` and `prefs` to `wish`. Raises TailscaleProblem where the operator must decide.

    on_tailnet: whether Ansible's own connection goes over the tailnet.
    """
    if not node.tun and not wish.userspace:
        raise TailscaleProblem(
            "tailscaled runs with userspace networking, which opens every loopback port of the host to the tailnet and "
            "gives it no address. Take --tun=userspace-networking out of its flags, or set tailscale_userspace to true."
        )
    wish = named(wish, prefs)
    reason = login_reason(node, prefs, wish)
    if reason:
        if not wish.has_key:
            raise TailscaleProblem(
                f"A login to {server_of(wish.login_server)} is needed, because {reason}, and there is no key for it. "
                "Set tailscale_auth_key or tailscale_oauth_secret."
            )
        refuse_risk("a login", wish, on_tailnet)
        return Plan("login", (reason,), flags_of(wish))
    if node.state in UNSETTLED:
        return Plan("wait", (f"the daemon is in state {node.state or 'unknown'}",))
    if node.state == "NeedsMachineAuth":
        raise TailscaleProblem(
            "The node waits for approval: approve it on the control server's page of machines, then run this again."
        )
    if prefs.ssh and wish.version not in ("", node.version):
        # A new version restarts the daemon, which is the SSH server here. Other connections outlive that.
        refuse_risk(f"the change from version {node.version} to {wish.version} under Tailscale SSH", wish, on_tailnet)
    drift = drift_of(prefs, wish)
    if "ssh" in drift:
        refuse_risk("switching Tailscale SSH", wish, on_tailnet)
    reasons = tuple(f"{flag} is not {value or 'empty'}" for flag, value in drift.items())
    if node.state != "Running":
        return Plan("up", (f"it is in state {node.state}", *reasons), flags_of(wish))
    refuse_wrong_tags(node, wish)
    return Plan("set", reasons, drift) if drift else Plan("none")


def refuse_wrong_tags(node: Node, wish: Wish) -> None:
    """Raise a problem if a running node has other tags than wanted; without wanted tags any will do."""
    if wish.tags and node.tags != tuple(sorted(wish.tags)):
        how = (
            "Tags change with a login only: log in again with a key that may give these tags, by "
            "-e '{\"tailscale_force_reauth\": true}'."
        )
        if node.tags and server_of(wish.login_server) != DEFAULT_SERVER:
            how = (
                "headscale takes tags from the key at a node's first login and keeps them at later ones: change them "
                f"there, by headscale nodes tag --identifier NUMBER --tags {','.join(wish.tags)}."
            )
        raise TailscaleProblem(
            f"The node has the tags {', '.join(node.tags) or 'none'}, and tailscale_tags wants {', '.join(wish.tags)}. "
            + how
        )


def up_arguments(wish: Wish, plan: Plan, key_path: str, timeout: int) -> list[str]:
    """The arguments of `tailscale` that take the step; the key is only ever named by the path of its file."""
    flags = [f"--{flag}={value}" for flag, value in plan.flags.items()]
    if plan.action == "set":
        return ["set", *flags, *risk_arguments(wish)]
    arguments = ["up", "--reset", f"--timeout={timeout}s", f"--login-server={server_of(wish.login_server)}", *flags]
    if wish.tags and (wish.has_oauth or server_of(wish.login_server) == DEFAULT_SERVER):
        # headscale takes the tags from the key, and since 0.29 refuses a key whose node asks for tags.
        arguments.append(f"--advertise-tags={','.join(wish.tags)}")
    if plan.action == "login":
        # Without it a running node would ignore the key.
        arguments += [f"--auth-key=file:{key_path}", "--force-reauth"]
    return arguments + risk_arguments(wish)


def risk_arguments(wish: Wish) -> list[str]:
    """What makes the program go on without asking."""
    return ["--accept-risk=lose-ssh"] if wish.accept_risk else []


def oauth_key(secret: str, ephemeral: bool, preauthorized: bool) -> str:
    """An OAuth secret as a key that says what kind of node it makes; parameters that it has already win.

    Without them the node would be ephemeral: deleted when it goes offline.
    """
    base, _mark, given = secret.partition("?")
    wanted = {"ephemeral": str(ephemeral).lower(), "preauthorized": str(preauthorized).lower()}
    named = {part.partition("=")[0] for part in given.split("&")}
    parts = [given] if given else []
    return f"{base}?{'&'.join([*parts, *(f'{name}={value}' for name, value in wanted.items() if name not in named)])}"


def expiry_warning(node: Node, days: int, now: datetime) -> str:
    """A sentence if the node key ends within `days`, else nothing."""
    if node.key_expiry is None or node.key_expiry - now > timedelta(days=days):
        return ""
    left = (node.key_expiry - now).days
    return (
        f"The node key ends on {node.key_expiry:%Y-%m-%d} (in {left} days); then the host leaves the tailnet. Log in "
        "again with tailscale_force_reauth, or give the node tags: the keys of tagged nodes do not end."
    )


def explain_failure(words: str, server: str) -> str:
    """What a failed `tailscale up` means, for the operator."""
    low = words.lower()
    if "requested tags" in low:
        return f"{server} does not let this key give these tags ({words}). Compare tailscale_tags with the key's tags."
    if "nodekeyexpired" in low:
        return (
            f"{server} takes the key and still counts the node as expired, as headscale does with tagged nodes "
            f"({words}). Delete the node there, then run this again."
        )
    if any(sign in low for sign in ("authkey", "auth key", "invalid key", "api key")):
        return (
            f"{server} refused the key ({words}). Make a new one and put it into tailscale_auth_key: a key can be "
            "wrong, expired, or already used."
        )
    if "timeout" in low or "deadline" in low:
        return (
            f"The node did not get to run in time ({words}). Is {server} reachable from the host, and does the host "
            "trust its certificate? See journalctl -u tailscaled."
        )
    return f"tailscale failed: {words}"
