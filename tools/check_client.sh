#!/bin/sh
# The client must install and answer without the service: a clean environment, the client alone, a fallback life.
set -eu
cd "$(dirname "$0")/.."
venv=build/client-venv
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check ./clients/python
"$venv/bin/python" - <<'PY'
import importlib.util

from quotelife_client import Client

for name in ("quotelife", "quotelife_server", "numpy", "uvloop"):
    if importlib.util.find_spec(name) is not None:
        raise SystemExit(f"the client alone brought {name}")
with Client("127.0.0.1:1", timeout_s=0.2, fallback_life_ns=1_000_000_000) as client:
    reply = client.get_expiry(instrument="BTC-USDT", side="BUY", size="1")
if not 0 < reply.life_ns <= 1_000_000_000 or "FALLBACK" not in str(reply.source):
    raise SystemExit(f"no fallback life without a service: {reply}")
print("client alone: fallback life", reply.life_ns, "ns")
PY
