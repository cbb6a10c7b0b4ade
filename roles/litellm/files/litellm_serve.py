"""Start LiteLLM's proxy; takes the arguments of the `litellm` command.

At every start LiteLLM (1.106.2, proxy_cli.py) runs `prisma migrate diff --from-url <DATABASE_URL>`, although migrations
are disabled for the service. Every user of the host could then read the database password in the process list, and the
comparison never succeeds, for lack of a schema file. Here it is left out; everything else is LiteLLM's own.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Leave the comparison out and hand over to LiteLLM; returns the exit code."""
    from litellm import run_server
    from litellm.proxy.db import check_migration

    if not callable(getattr(check_migration, "check_prisma_schema_diff", None)):
        sys.stderr.write("This LiteLLM compares schemas in another way: see litellm_serve.py before you start it.\n")
        return 1
    check_migration.check_prisma_schema_diff = lambda db_url=None: None
    return run_server()


if __name__ == "__main__":
    sys.exit(main())
