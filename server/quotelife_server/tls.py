"""``server.tls`` of a configuration: the files that it names, and their faults where they were named."""

from pathlib import Path

from quotelife.config.loader import placed
from quotelife.errors import ConfigError
from quotelife_server.settings import Server
from quotelife_server.transport.options import TlsFiles
from quotelife_server.transport.tls_files import tls_faults


def folder_of(config_path: Path) -> Path:
    """Where relative names of files in a configuration start."""
    return config_path if config_path.is_dir() else config_path.parent


def check_tls(config_path: Path, settings: Server) -> TlsFiles | None:
    """The files, which can be used. Raises ``ConfigError`` with each one's fault, key, file and line."""
    tls, folder = settings.tls, folder_of(config_path)
    if tls is None:
        return None
    client_ca = None if tls.client_ca is None else folder / tls.client_ca
    files = TlsFiles(folder / tls.certificate, folder / tls.key, client_ca)
    if faults := tls_faults(files):
        raise ConfigError(placed(config_path, [(("server", "tls", key), why) for key, why in faults]))
    return files
