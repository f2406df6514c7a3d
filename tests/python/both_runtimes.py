"""A model's calls on stock's runtime and on ours, in order on one loaded file: the one's answers are
held against the other's."""

import pathlib

import compare
from export_models import flat_tensors, save_tensors
from oracle import Oracle


class BothRuntimes:
    """Files of inputs and answers lie in `folder`. `imports` are modules that stock's process wants;
    `limit` is the error that counts as right (default: by dtype), `scale` what it is relative to
    (default: an answer's largest number)."""

    def __init__(self, oracle: Oracle, sconce: pathlib.Path, folder: pathlib.Path, calls: list[tuple],
                 imports: list[str] = [], limit: float | None = None, scale: float | None = None) -> None:
        self.oracle, self.sconce, self.folder = oracle, sconce, folder
        self.imports, self.limit, self.scale = imports, limit, scale
        self.inputs = [self.write(f"in.{number}", call) for number, call in enumerate(calls)]

    def write(self, name: str, call: tuple):
        tensors, leaves = flat_tensors(call)
        save_tensors(self.folder / name, "input", tensors)
        return self.folder / name, leaves

    def on_stock(self, pte: pathlib.Path, kind: str) -> None:
        """Answers become those of `kind`; "expected" are what judge() wants."""
        self.oracle.ask({"do": "run", "pte": str(pte), "imports": self.imports, "calls": [
            {"inputs": leaves, "from": str(path), "to": str(self.folder / f"{kind}.{number}")}
            for number, (path, leaves) in enumerate(self.inputs)]})

    def on_ours(self, pte: pathlib.Path, *how: str) -> str:
        """Answers become those of "ours"; what the command said."""
        arguments: list[object] = []
        for number, (path, _) in enumerate(self.inputs):
            arguments += ["--method", "forward", "--inputs", path, "--outputs", self.folder / f"ours.{number}"]
        return compare.run_cli(self.sconce, "run", pte, *arguments, *how)

    def judge(self, kind: str) -> None:
        for number in range(len(self.inputs)):
            compare.error_of(self.folder / f"{kind}.{number}", self.folder / f"expected.{number}", self.limit,
                             self.scale)

    def check_for_stock(self, stock: pathlib.Path) -> str:
        """Stock's file compiled anew for stock's runtime answers as it did; what was said last, of
        the file for XNNPACK."""
        for target in ("portable", "xnnpack"):
            pte = self.folder / f"{target}.pte"
            said = compare.run_cli(self.sconce, "compile", stock, "-o", pte, "--target", target)
            assert "stays as it stands" not in said
            self.on_stock(pte, "stock")
            self.judge("stock")
        return said
