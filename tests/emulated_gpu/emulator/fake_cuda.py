"""CUDA without a GPU: CUDA tensors as torch makes them, in the host's memory, whose operations a CPU computes.

``libcuda.so.1`` (fake_cudart.c), preloaded, stands in for CUDA's runtime: torch allocates, copies, pins, records
events, casts under autocast and runs backward in the device's thread with its own code. ``Emulation`` takes the place
of the kernels. It is strict where CUDA is (devices may not mix), and counts what makes the host wait, with the line
that did it.
What it cannot show: speed, the kernels' own values, races between streams.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
NATIVE = {aten._unsafe_view, aten._reshape_alias, aten.lift_fresh, aten.empty, aten.empty_strided, aten.empty_like,
          aten.new_empty, aten.new_empty_strided, aten.set_, aten.resize_, aten.is_pinned, aten._pin_memory,
          aten.record_stream, aten._local_scalar_dense}  # fmt: skip
WAITS = {aten.nonzero, aten.masked_select, aten.unique_dim, aten._unique2, aten.unique_consecutive, aten.equal,
         aten.bincount, aten.unique_dim_consecutive}  # fmt: skip
SCALARS = {aten.add, aten.add_, aten.sub, aten.sub_, aten.mul, aten.mul_, aten.div, aten.div_, aten.where, aten.pow,
           aten.lt, aten.gt, aten.le, aten.ge, aten.eq, aten.ne, aten.minimum, aten.maximum, aten.clamp, aten.rsub,
           aten.masked_fill, aten.masked_fill_, aten.fill, aten.fill_, aten.lerp, aten.lerp_, aten.bitwise_and,
           aten.index_put_, aten.index_put, aten._index_put_impl_, aten._fused_sgd_}  # fmt: skip
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
MATRICES = {aten.convolution, aten.convolution_backward, aten.addmm, aten.mm, aten.bmm, aten.baddbmm}
SOFTMAX = {aten._softmax, aten._log_softmax}
SLOPES = {aten._softmax_backward_data, aten._log_softmax_backward_data}
FREE_BYTES = 64 << 10
"""Up to which CUDA copies from pageable memory without waiting, as its programming guide says."""
LOW = (torch.float16, torch.bfloat16)


@cache
def _counters() -> Any:
    raw = ctypes.CDLL("libcuda.so.1").fake_cuda_counts
    raw.restype = ctypes.POINTER(ctypes.c_long)
    return raw()


def waited() -> int:
    """How often the host has waited for a device: streams, devices, blocking copies."""
    found = _counters()
    return int(found[0] + found[1] + found[3])


def memory_of(tensor: Tensor) -> Tensor:
    """The same memory as a tensor of the CPU."""
    storage = tensor.untyped_storage()
    if not storage.nbytes() or not tensor.numel():
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    raw = torch.frombuffer((ctypes.c_uint8 * storage.nbytes()).from_address(storage.data_ptr()), dtype=torch.uint8)
    whole = raw[: raw.numel() // tensor.itemsize * tensor.itemsize].view(tensor.dtype)
    return whole.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def tensors(given: Any) -> Iterator[Tensor]:
    """All tensors in arguments of an operation."""
    for value in given.values() if isinstance(given, dict) else given:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple | dict):
            yield from tensors(value)


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The same nest of lists, tuples and dictionaries with ``function`` of what is in it."""
    if isinstance(value, dict):
        return {name: mapped(function, one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)([mapped(function, one) for one in value])
    return function(value)


def is_cuda(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cuda"


def on_device(device: torch.device, value: Any) -> Any:
    """A tensor of the CPU as one of the device; what is no tensor as it is."""
    if not isinstance(value, Tensor):
        return value
    made = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
    if value.numel():
        memory_of(made).copy_(value)
    return made


def where() -> str:
    """The line of the project that is being carried out."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(OWN) and not name.endswith("execution.py"):  # which shows warnings
            return f"{'/'.join(name.rsplit('/', 2)[1:])}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


ROOT = Path(__file__).resolve().parents[3]
OWN = tuple(f"{ROOT}/{part}/" for part in ("benchmark", "datasets", "methods", "src/atso_bench"))
"""The project's own files, whatever the folders above it are called."""


def _host(value: Any) -> Any:
    """A tensor of a device, or a device, as one of the CPU."""
    if is_cuda(value):
        return memory_of(value)
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in LOW else value


def _written(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments that the operation changes, by the names that its schema has for their memory."""
    found = {}
    for number, one in enumerate(func._schema.arguments):
        if one.alias_info is not None and one.alias_info.is_write:
            given = args[number] if number < len(args) else kwargs.get(one.name)
            found.update(dict.fromkeys(one.alias_info.before_set, given))
    return found


def _room(source: Tensor, wanted: Any) -> Tensor:
    """What ``_to_copy`` with these arguments copies to."""
    device = torch.device(wanted.get("device") or source.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    dtype, layout = wanted.get("dtype") or source.dtype, wanted.get("memory_format") or torch.preserve_format
    return torch.empty_like(source, device=device, dtype=dtype, memory_format=layout)


class Emulation(TorchDispatchMode):
    """Computes CUDA's operations on the CPU.

    Attributes:
        waits: lines at which the host waited for the device, and what for.
        operations: of the device: about as many kernels are launched.
        explained: waits that the runtime counted and of which ``waits`` names the line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.explained = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat = list(tensors(args)) + list(tensors(kwargs))
        ours = [value for value in flat if value.device.type == "cuda"]
        wanted = kwargs.get("device")
        wanted = torch.device(wanted) if wanted is not None else None
        if not ours and (wanted is None or wanted.type != "cuda"):
            return func(*args, **kwargs)
        packet = func.overloadpacket if hasattr(func, "overloadpacket") else func
        if hasattr(func, "decompose"):  # in inference mode what is made of other operations comes whole
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if packet in (aten.copy_, aten._to_copy):
            return self._copied(packet, args, kwargs)
        returns = func._schema.returns if hasattr(func, "_schema") else []
        view = any(one.alias_info is not None and not one.alias_info.is_write for one in returns)
        if view or not hasattr(func, "_schema"):
            return func(*args, **kwargs)
        if packet in NATIVE:
            return self._watched(func, args, kwargs, packet)
        self._check(packet, func, args, flat, ours)
        device = wanted if wanted is not None and not ours else ours[0].device
        if any(value.device != device for value in ours):
            raise RuntimeError(f"{func}: tensors on {sorted({str(value.device) for value in flat})}")
        self.operations[str(packet)] += 1
        if packet in WAITS or (packet in INDEXED and self._masks(args)):
            self.waits[f"{where()}: {packet.__name__}"] += 1
        return self._computed(func, packet, args, kwargs, device)

    def _masks(self, args: Any) -> bool:
        """An index that is a boolean needs to be counted; one on the CPU needs to be sent."""
        given = [one for one in args[1] if isinstance(one, Tensor)]
        return any(one.dtype in (torch.bool, torch.uint8) or (one.device.type == "cpu" and one.ndim) for one in given)

    def _check(self, packet: Any, func: Any, args: Any, flat: list[Tensor], ours: list[Tensor]) -> None:
        for value in flat:
            if value.device.type == "cuda" or packet in INDEXED:
                continue
            if value.ndim or (ours and packet not in SCALARS):
                raise RuntimeError(
                    f"{func}: expected all tensors to be on {ours[:1] and ours[0].device}, one is on the CPU"
                )

    def _watched(self, func: Any, args: Any, kwargs: Any, packet: Any) -> Any:
        before = waited()
        result = func(*args, **kwargs)
        if waited() > before:
            self.waits[f"{where()}: {packet.__name__}"] += 1
            self.explained += waited() - before
        return result

    def _copied(self, packet: Any, args: Any, kwargs: Any) -> Any:
        """A copy to, from or between devices, by torch's own code as far as memory is moved."""
        if packet is aten.copy_:
            target, source = args[:2]
            freely = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
        else:
            source, target = args[0], _room(args[0], kwargs)
            freely = kwargs.get("non_blocking", False)
        self.operations["copy"] += 1
        if is_cuda(target) and is_cuda(source):
            if target.device != source.device:
                self.waits[f"{where()}: peer copy"] += 1
            memory_of(target).copy_(memory_of(source))
        elif is_cuda(target):
            self._sent(target, source, freely)
        else:
            ready = on_device(source.device, memory_of(source).to(target.dtype).expand(target.shape).contiguous())
            goal = target if target.is_contiguous() else torch.empty_like(target, memory_format=torch.contiguous_format)
            self._watched(aten.copy_.default, (goal, ready, freely), {}, packet)
            if goal is not target:
                target.copy_(goal)
        return target

    def _sent(self, target: Tensor, source: Tensor, freely: bool) -> None:
        """From the CPU to a device. Much that is not pinned is staged by the driver, which may wait for the stream."""
        same = source.dtype == target.dtype and source.shape == target.shape
        plain = same and source.is_contiguous() and target.is_contiguous()
        sent = source if plain else source.to(target.dtype).expand(target.shape).contiguous()
        goal = target if target.is_contiguous() else torch.empty_like(target, memory_format=torch.contiguous_format)
        if freely and sent.nbytes > FREE_BYTES and not (plain and source.is_pinned()):
            self.waits[f"{where()}: copy from pageable memory"] += 1
        self._watched(aten.copy_.default, (goal, sent, freely), {}, aten.copy_)
        if goal is not target:
            memory_of(target).copy_(memory_of(goal))

    def _computed(self, func: Any, packet: Any, args: Any, kwargs: Any, device: torch.device) -> Any:
        """The operation by the CPU, over the same memory; what it makes goes to the device."""
        result = self._on_cpu(func, packet, mapped(_host, args), mapped(_host, kwargs))
        returns, written = func._schema.returns, _written(func, args, kwargs)
        if not returns:
            return None
        found = []
        for one, made in zip(returns, result if len(returns) != 1 else (result,), strict=True):
            if one.alias_info is not None and one.alias_info.is_write:
                found.append(written[next(iter(one.alias_info.before_set))])
            else:
                found.append(mapped(partial(on_device, device), made))
        return tuple(found) if len(returns) != 1 else found[0]

    def _on_cpu(self, func: Any, packet: Any, args: Any, kwargs: Any) -> Any:
        kwargs.pop("pin_memory", None)
        low = next((value.dtype for value in tensors((args, kwargs)) if value.dtype in LOW), None)
        if packet in SOFTMAX and args[2]:  # half to float in one go, which a CPU has not
            return func(args[0].float(), args[1], False)
        if packet in SLOPES and args[3] in LOW:
            return func(*mapped(_single, args[:3]), torch.float32).to(args[3])
        if packet in MATRICES and low is not None:
            return self._in_single(func, args, kwargs, low)
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if low is None or "not implemented for" not in str(error):
                raise
            return self._in_single(func, args, kwargs, low)

    def _in_single(self, func: Any, args: Any, kwargs: Any, low: torch.dtype) -> Any:
        def down(value: Any) -> Any:
            return value.to(low) if isinstance(value, Tensor) and value.dtype == torch.float32 else value

        return mapped(down, func(*mapped(_single, args), **mapped(_single, kwargs)))


EMULATION: Emulation | None = None


def lose_the_device() -> None:
    """From here on every call of the runtime says that a kernel has read where it may not; CUDA has no way back."""
    ctypes.CDLL("libcuda.so.1").fake_cuda_lose()


def install() -> Emulation:
    """From here on this thread has CUDA; processes that it spawns too, if they find this folder in PYTHONPATH."""
    global EMULATION
    if EMULATION is None:
        torch.backends.cudnn.enabled = False  # its own operations have no counterpart on a CPU
        EMULATION = Emulation()
        EMULATION.__enter__()
    return EMULATION
