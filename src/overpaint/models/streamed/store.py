"""A model whose parts are read from its folder when they run, and let go after: for those larger than the memory.

Parts are the blocks, and each module outside of them that has weights of its own (embeddings, the last norm, the head).
A part that is held stays: `hold` the blocks that are trained, or one block while many texts go through it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig
from transformers.utils.loading_report import LoadStateDictInfo
from transformers.utils.logging import disable_progress_bar

from overpaint.errors import UserError
from overpaint.models import folders
from overpaint.models.parts import blocks

# Masks and frequencies that older versions of transformers stored and newer ones compute.
COMPUTED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|(attn|attention)\.(bias|masked_bias))$")


class Parts:
    """The parts of a model on the meta device, and where their tensors are stored.

    Attributes:
        names: {part: names of its parameters in the model}.
        changed: tensors by name that stand in place of stored ones whenever their part is read.
    """

    def __init__(self, model: PreTrainedModel, folder: Path, device: str) -> None:
        self.names, self.changed = _parts(model), {}
        self._model, self._folder, self._device = model, folder, device
        self._tied = dict(model.all_tied_weights_keys)
        self._mapping = get_model_conversion_mapping(model)
        self._files = _files(model, folder, self.names, self._mapping)
        self._blocks = [name for block in blocks(model) for name, module in model.named_modules() if module is block]
        self._holders: Counter[str] = Counter()
        self._checked: set[str] = set()
        for part in self.names:
            self._read_when_run(part)

    def block(self, index: int) -> str:
        """The name of a block as a part."""
        return self._blocks[index]

    @property
    def outside(self) -> list[str]:
        """The parts that are no blocks."""
        return [part for part in self.names if part not in self._blocks]

    @contextmanager
    def held(self, part: str) -> Iterator[None]:
        """Within the context the part's tensors are in memory."""
        self.hold(part)
        try:
            yield
        finally:
            self._let_go(part)

    def hold(self, part: str) -> None:
        """Have the part's tensors in memory from now on."""
        self._holders[part] += 1
        if self._holders[part] == 1:
            self._read(part)

    def each(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Names with their parameters as they are now, one part in memory at a time."""
        for part, listed in groupby(names, partial(_part_of, names=self.names)):
            with self.held(part):
                for name in listed:
                    yield name, self._model.get_parameter(name).detach()

    @torch.no_grad()
    def change(self, tensors: dict[str, Tensor]) -> None:
        """Put tensors in place of the parameters of the same names, from now on."""
        self.changed |= tensors
        for name, tensor in tensors.items():
            if self._holders[_part_of(name, self.names)]:
                self._model.get_parameter(name).copy_(tensor)

    @torch.no_grad()
    def _read(self, part: str) -> None:
        """Have a part's tensors read from their files; what is tied to another part's is that part's."""
        config = LoadStateDictConfig(
            device_map={"": self._device},
            dtype=self._model.dtype,
            ignore_mismatched_sizes=True,  # told by name
            weight_mapping=self._mapping,
        )
        with ExitStack() as stack:
            slices = {}
            for file, keys in self._files[part].items():
                stored = stack.enter_context(safe_open(file, "pt"))
                slices |= {key: stored.get_slice(key) for key in keys}
            info, _ = convert_and_load_state_dict_in_model(self._model, slices, config, None)
        for name in self.names[part]:
            if source := self._tied.get(name):
                self.hold(_part_of(source, self.names))
                self._set(name, self._model.get_parameter(source))
        self._check(part, info)
        for name in self.names[part]:
            parameter = self._model.get_parameter(name).requires_grad_(False)
            if name in self.changed:
                parameter.copy_(self.changed[name])

    def _let_go(self, part: str) -> None:
        self._holders[part] -= 1
        if self._holders[part]:
            return
        for name in self.names[part]:
            self._set(name, nn.Parameter(self._model.get_parameter(name).to("meta"), requires_grad=False))
            if source := self._tied.get(name):
                self._let_go(_part_of(source, self.names))

    def _set(self, name: str, parameter: nn.Parameter) -> None:
        module, _, leaf = name.rpartition(".")
        self._model.get_submodule(module)._parameters[leaf] = parameter

    def _check(self, part: str, info: LoadStateDictInfo) -> None:
        """Refuse a part that lacks tensors, has some of another shape, or whose numbers are not finite; once."""
        if part in self._checked:
            return
        self._checked.add(part)
        parameters = {name: self._model.get_parameter(name) for name in self.names[part]}
        missing = [name for name, parameter in parameters.items() if parameter.is_meta]
        check_keys(self._folder, (), info.mismatched_keys)
        check_keys(self._folder, missing, (), (), info.error_msgs)
        for name, parameter in parameters.items():
            check_finite(name, parameter, self._folder)

    def _read_when_run(self, part: str) -> None:
        """Have a part read before its module runs; not where its forward is replaced, as that of a skipped block."""
        module = self._model.get_submodule(part)
        forward = module.forward

        def run(*args, **kwargs):
            with self.held(part):
                return forward(*args, **kwargs)

        module.forward = run


def load(folder: Path, config: PreTrainedConfig, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The model of a local Hugging Face folder without its weights, which are read as they are needed.

    Raises UserError where the files hold other tensors than the model has; what is wrong with a tensor is told when it
    is first read.
    """
    disable_progress_bar()
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.eval().requires_grad_(False)
    model.name_or_path = str(folder)
    for module in model.modules():
        module._buffers.update(
            {name: buffer.to(device) for name, buffer in module._buffers.items() if buffer is not None}
        )
    model.streamed = Parts(model, folder, device)
    # Where inputs go: transformers says where the first parameter is, which here is on no device. The class comes last,
    # since transformers knows by it how stored tensors are named.
    own = {"device": property(lambda _: torch.device(device))}
    model.__class__ = type(type(model).__name__, (type(model),), own)
    return model


def check_keys(
    folder: Path,
    missing: Iterable[str] = (),
    mismatched: Iterable[tuple] = (),
    unexpected: Iterable[str] = (),
    errors: Iterable[str] = (),
) -> None:
    """Refuse tensors that the files lack, of another shape, that the model has no place for, or that gave errors.

    mismatched: (tensor, its shape in the files, the shape that the model has).
    """
    shapes = [f"{key} {tuple(stored)}, not {tuple(wanted)}" for key, stored, wanted in mismatched]
    for keys, wrong in (
        (list(missing), "lack"),
        (shapes, "have another shape than config.json says for"),
        ([key for key in unexpected if not COMPUTED.search(key)], "have more than config.json asks for, namely"),
        (list(errors), "cannot be loaded:"),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise UserError(
                f"The weights in {folder} {wrong} {min(keys)}{more}: fetch the whole model again, or mend its "
                "config.json."
            )


def check_finite(name: str, parameter: Tensor, folder: Path) -> None:
    """Refuse a parameter with numbers that are not finite."""
    if not parameter.isfinite().all():
        raise UserError(
            f"The weights in {folder} are not all finite numbers as {parameter.dtype}, such as {name}: fetch the model "
            "again, or set its `dtype` to that in which it was saved."
        )


def _parts(model: PreTrainedModel) -> dict[str, list[str]]:
    """{part: names of its parameters}: blocks, and modules outside of them that have some of their own."""
    chain = {id(block) for block in blocks(model)}
    found: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if not any(name.startswith(f"{part}.") for part in found):
            own = [f"{name}.{key}" for key, _ in module.named_parameters(recurse=id(module) in chain)]
            found |= {name: own} if own else {}
    return found


def _part_of(name: str, names: Iterable[str]) -> str:
    """The part whose tensor has this name."""
    return next(part for part in names if name.startswith(f"{part}."))


def _files(
    model: PreTrainedModel, folder: Path, names: Iterable[str], mapping: list
) -> dict[str, dict[Path, list[str]]]:
    """{part: {file: stored tensors}}, whose names are told by transformers' `mapping` of them to the model's.

    Refuses a folder whose tensors are not those of the model.
    """
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    wanted, known, converted = model.state_dict(), set(), False
    info = LoadStateDictInfo(set(), set(), set(), [], {}, set())
    files: dict[str, dict[Path, list[str]]] = {part: {} for part in names}
    for key, file in folders.stored(folder).items():
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, wanted)
        converted |= pattern is not None
        if name in wanted:
            known.add(name)
            files[_part_of(name, names)].setdefault(file, []).append(key)
        else:
            info.unexpected_keys.add(key)
    info.missing_keys = set() if converted else set(wanted) - known - set(model.all_tied_weights_keys)
    model._adjust_missing_and_unexpected_keys(info)
    check_keys(folder, info.missing_keys, (), info.unexpected_keys)
    return files
