"""An HTTPS connection to one address with the certificate of another name: for asking a server on its loopback."""

from __future__ import annotations

import http.client
import socket
import ssl


class NamedConnection(http.client.HTTPSConnection):
    """As http.client.HTTPSConnection; name: what the certificate must be for, when that is not the host."""

    def __init__(self, host: str, port: int | None, *, timeout: float, context: ssl.SSLContext, name: str = "") -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._settings, self._name = context, name or host

    def connect(self) -> None:
        """Connect, and check the certificate."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._settings.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise
