"""Who saves."""

from __future__ import annotations

import getpass


def current_user() -> str:
    """Who makes the request that is being handled.

    Returns
    -------
    str
        The name that the server's identity provider gives. With plain token authentication that is a new random name
        for each request; then, and outside requests, the system's user. Empty where there is no name at all.
    """
    from jupyter_server import CallContext

    handler = CallContext.get(CallContext.JUPYTER_HANDLER)
    user = getattr(handler, "current_user", None)
    name = getattr(user, "username", None)
    if isinstance(name, str) and not str(getattr(user, "name", "")).startswith("Anonymous "):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for this uid
        return ""
