"""What LLVM makes of code for processors that this machine need not have."""

import re

import llvmlite.binding as llvm
from llvmlite import ir

X86, ARM64, APPLE = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-darwin"

# A whole vector register beside an address on the stack. Arm's callers expect the lower halves of
# some registers, d8 to d15, to keep their values: saving those is no spill.
SPILL = re.compile(r"%[xyz]mm\d+.*\(%rsp\)|\(%rsp\).*%[xyz]mm\d+|\bq\d+.*\[sp\b")
LABEL = re.compile(r"(\.?\w+):")

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()


def assembly_of(emit, triple: str, cpu: str = "", arguments: int = 0) -> list[str]:
    """Labels and instructions of a function of int64 whose code `emit(builder)` emits."""
    module = ir.Module()
    module.triple = triple
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * arguments)
    builder = ir.IRBuilder(ir.Function(module, kind, "function").append_basic_block())
    emit(builder)
    builder.ret_void()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    code = llvm.parse_assembly(str(module))
    code.data_layout = str(machine.target_data)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(code, passes)
    lines = [line.partition("#")[0].strip() for line in machine.emit_assembly(code).splitlines()]
    return [line for line in lines if line and (LABEL.match(line) or not line.startswith("."))]


def instructions(assembly: list[str]) -> list[str]:
    """The names of the instructions, in order."""
    return [line.split()[0] for line in assembly if not LABEL.fullmatch(line)]


def loops(assembly: list[str]) -> list[list[str]]:
    """The lines of each loop without a branch inside."""
    found, label, body = [], None, []
    for line in assembly:
        match = LABEL.fullmatch(line)
        if match:
            label, body = match[1], []
            continue
        body.append(line)
        if label is not None and line.split()[-1] == label:
            found.append(body)
    return found


def spills(assembly: list[str]) -> list[str]:
    """The instructions that move a vector register to the stack or back."""
    return [line for line in assembly if SPILL.search(line)]
