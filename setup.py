"""Build hooks: proto/ is compiled into common/pb/ before the packages are collected (wheel and editable install alike),
and the edge's inner loop where there is a C compiler; without one the install goes on with its Python form.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithProto(build_py):
    def run(self) -> None:
        from grpc_tools import protoc

        sources = sorted((ROOT / "proto").rglob("*.proto"))
        outputs = [f"--{kind}_out={ROOT}" for kind in ("python", "pyi", "grpc_python")]
        arguments = ["protoc", f"-I{ROOT / 'proto'}", *outputs]
        if protoc.main(arguments + [str(source) for source in sources]) != 0:
            raise SystemExit("proto/: protoc failed; its message is above")
        super().run()


setup(
    cmdclass={"build_py": BuildWithProto},
    ext_modules=[Extension("edge._fanout", ["edge/_fanout.c"], optional=True)],
)
