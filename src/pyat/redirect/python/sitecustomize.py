"""Loaded by Python before a program: what is meant for Airtable's hosts goes to the platform at AIRTABLE_ENDPOINT_URL.

Each HTTP library is changed when the program imports it, and never imported from here. Any Python from 3.8 on can load
this file. A `sitecustomize` that the environment had already still runs, afterwards.
"""

# ruff: noqa: INP001 - the folder is one of sys.path, and no package

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

HOSTS = frozenset({"api.airtable.com", "content.airtable.com", "airtable.com"})
_SECURE_PORTS = {"http": 80, "https": 443}


class Target:
    """The platform: `scheme`, `host`, `port`, `netloc`, the `prefix` of its paths (may be empty), `is_near` on this machine."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for what is no URL of a platform."""
        parts = urlsplit(url.strip().rstrip("/"))
        if parts.scheme not in _SECURE_PORTS or not parts.hostname or parts.hostname in HOSTS:
            raise ValueError(f"{url} is not the URL of a platform")
        self.scheme, self.host, self.netloc = parts.scheme, parts.hostname, parts.netloc
        self.port = parts.port or _SECURE_PORTS[parts.scheme]
        self.prefix = parts.path
        self.is_near = self.host in ("localhost", "::1") or self.host.startswith("127.")

    def path(self, path: str) -> str:
        """A path on the platform. Clients put the prefix on some of their paths themselves; it is not doubled."""
        has_prefix = not self.prefix or path == self.prefix or path.startswith(self.prefix + "/")
        return path if has_prefix else self.prefix + path

    def url(self, url: str) -> str | None:
        """Where a request to this URL goes instead; None for URLs that are not ours to touch."""
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            return None
        if parts.scheme.lower() not in _SECURE_PORTS or not is_airtable(host):
            return None
        return urlunsplit(SplitResult(self.scheme, self.netloc, self.path(parts.path), parts.query, parts.fragment))


def is_airtable(host: str | None) -> bool:
    """Whether this is one of the hosts that are redirected; a final point and the case do not matter."""
    return host is not None and host.lower().rstrip(".") in HOSTS


def _change_requests(module: Any, target: Target) -> None:
    original = module.HTTPAdapter.send

    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        url = target.url(request.url)
        if url is not None:
            from requests.utils import get_environ_proxies

            request.url = url
            request.headers.pop("Host", None)
            if kwargs.get("proxies"):
                # They were chosen for Airtable's host. The platform on this machine needs none.
                kwargs["proxies"] = {} if target.is_near else get_environ_proxies(url)
        return original(self, request, *args, **kwargs)

    module.HTTPAdapter.send = send


def _change_urllib3(module: Any, target: Target) -> None:
    original = module.PoolManager.urlopen

    def urlopen(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return original(self, method, target.url(url) or url, *args, **kwargs)

    module.PoolManager.urlopen = urlopen


def _change_httpx(module: Any, target: Target) -> None:
    def aim(request: Any) -> None:
        url = target.url(str(request.url))
        if url is not None:
            request.url = module.URL(url)
            request.headers["Host"] = request.url.netloc.decode("ascii")

    synchronous, asynchronous = module.Client.send, module.AsyncClient.send

    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        aim(request)
        return synchronous(self, request, *args, **kwargs)

    async def async_send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        aim(request)
        return await asynchronous(self, request, *args, **kwargs)

    module.Client.send, module.AsyncClient.send = send, async_send


def _change_aiohttp(module: Any, target: Target) -> None:
    original = module.ClientSession._build_url

    def build_url(self: Any, str_or_url: Any) -> Any:
        built = original(self, str_or_url)
        url = target.url(str(built))
        return built if url is None else type(built)(url, encoded=True)

    module.ClientSession._build_url = build_url


def _change_urllib(module: Any, target: Target) -> None:
    original = module.OpenerDirector.open

    def opened(self: Any, fullurl: Any, *args: Any, **kwargs: Any) -> Any:
        is_text = isinstance(fullurl, str)
        url = target.url(fullurl if is_text else fullurl.full_url)
        if url is not None and is_text:
            fullurl = url
        elif url is not None:
            fullurl.full_url = url
            fullurl.remove_header("Host")
        return original(self, fullurl, *args, **kwargs)

    module.OpenerDirector.open = opened


def _change_http_client(module: Any, target: Target) -> None:
    """For programs that use `http.client` itself. Libraries with connections of their own are changed above."""
    plain, secure = module.HTTPConnection, getattr(module, "HTTPSConnection", None)
    initialize, connect, put_request = plain.__init__, plain.connect, plain.putrequest

    def __init__(self: Any, host: str, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - replaces that of the class
        initialize(self, host, *args, **kwargs)
        self._pyat_is_redirected = type(self) in (plain, secure) and is_airtable(self.host)
        if self._pyat_is_redirected:
            self.host, self.port = target.host, target.port
            # Decides whether the header Host names the port.
            self.default_port = _SECURE_PORTS[target.scheme]

    def connected(self: Any) -> None:
        connect(self)
        if target.scheme == "https" and type(self) is plain and getattr(self, "_pyat_is_redirected", False):
            import ssl

            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=target.host)

    def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        is_ours = getattr(self, "_pyat_is_redirected", False) and url.startswith("/")
        return put_request(self, method, target.path(url) if is_ours else url, *args, **kwargs)

    plain.__init__, plain.connect, plain.putrequest = __init__, connected, putrequest
    if secure is not None:
        connect_securely = secure.connect

        def connected_securely(self: Any) -> None:
            is_plain = getattr(self, "_pyat_is_redirected", False) and target.scheme == "http"
            (connected if is_plain else connect_securely)(self)

        secure.connect = connected_securely


_CHANGES = {
    "requests.adapters": _change_requests,
    "urllib3.poolmanager": _change_urllib3,
    "httpx": _change_httpx,
    "aiohttp.client": _change_aiohttp,
    "urllib.request": _change_urllib,
    "http.client": _change_http_client,
}


class _Loader:
    """Loads as the module's own loader does, changes the module, and leaves no trace of itself."""

    def __init__(self, loader: Any, target: Target) -> None:
        self._loader = loader
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _change(module.__name__, module, self._target)


class _Finder:
    """Stands before the other finders, and gives way to them for every module but those that are changed."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module's own spec with our loader around its own."""
        if name not in _CHANGES:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._target)
                return spec
        return None


def _change(name: str, module: Any, target: Target) -> None:
    try:
        _CHANGES[name](module, target)
    except AttributeError as error:
        # A release of the library that is built differently: the program must run all the same.
        sys.stderr.write(f"pyat: requests of {name} cannot be redirected ({error}).\n")


def install(url: str) -> None:
    """Redirect from now on. Raises ValueError for what is no URL of a platform."""
    target = Target(url)
    sys.meta_path.insert(0, _Finder(target))
    for name in _CHANGES:
        if name in sys.modules:
            _change(name, sys.modules[name], target)


def _run_hidden_one() -> None:
    """Run the `sitecustomize` that Python would have found, had this folder not come before it."""
    ours = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs every start of Python
    others = [folder for folder in sys.path if os.path.abspath(folder or ".") != ours]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start() -> None:
    url = os.environ.get("AIRTABLE_ENDPOINT_URL", "")
    if url:
        try:
            install(url)
        except ValueError as error:
            sys.stderr.write(f"pyat: nothing is redirected: AIRTABLE_ENDPOINT_URL: {error}.\n")
    _run_hidden_one()


if __name__ == "sitecustomize":
    _start()
