#!/usr/bin/env python3
"""Golden logits of networks whose weights come from PyTorch state dicts.

    python tools/golden/torch_import.py                      (torch, torchvision, numpy, h5py)
    python tools/golden/torch_import.py state NAME OUT.npz   (numpy, h5py)
    python tools/golden/torch_import.py same A.npz B.npz     (numpy)

The first writes tests/golden/torch_import.h5: for each network names/NAME, a line "key shape" for each
tensor of its state dict, images/NAME (u8) and logits/NAME of the network in evaluation on
images / 255. The state dict itself is arithmetic (see state_of), so that a test can make it again
without PyTorch: `state` writes it. torchvision's networks are torchvision's; lenet5 and resnet20 stand
here as modules. names/ also holds torchvision's names of networks that are too large to run in a test.
Tolerance: 1e-4 of the largest logit, as oneDNN and PyTorch add up in other orders.
"""
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import read_archive, write_archive  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/torch_import.h5"


def state_of(lines):
    """Arrays for the lines of names/NAME, from RandomState, whose stream NumPy keeps for ever."""
    random = np.random.RandomState(7)
    state = {}
    for line in lines.splitlines():
        name, _, text = line.partition(" ")
        shape = tuple(int(size) for size in text.split("x"))
        word = name.rsplit(".", 1)[1]
        low, high = {"running_var": (0.5, 1.5), "running_mean": (-0.3, 0.3),
                     "bias": (-0.2, 0.2)}.get(word, (0.7, 1.3))
        if len(shape) > 1:
            high = np.sqrt(6.0 / np.prod(shape[1:]))
            low = -high
        state[name] = random.uniform(low, high, shape).astype(np.float32)
    return state


def same(first, second):
    a, b = np.load(first), np.load(second)
    assert sorted(a.files) == sorted(b.files), (a.files, b.files)
    for name in a.files:
        assert a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]), name
    assert len(a.files) > 5


def make_golden():
    import torch
    import torchvision
    from torch import nn

    class Lenet5(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 32, 5, padding=2, bias=False)
            self.bn1 = nn.BatchNorm2d(32)
            self.conv2 = nn.Conv2d(32, 64, 5, padding=2, bias=False)
            self.bn2 = nn.BatchNorm2d(64)
            self.fc1 = nn.Linear(64 * 7 * 7, 512)
            self.fc2 = nn.Linear(512, 10)

        def forward(self, x):
            pool = nn.functional.max_pool2d
            x = pool(torch.relu(self.bn1(self.conv1(x))), 2)
            x = pool(torch.relu(self.bn2(self.conv2(x))), 2)
            return self.fc2(torch.relu(self.fc1(x.flatten(1))))

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            if stride != 1:
                self.shortcut = nn.ModuleDict({
                    "conv": nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                    "bn": nn.BatchNorm2d(outputs)})

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            if hasattr(self, "shortcut"):
                x = self.shortcut["bn"](self.shortcut["conv"](x))
            return torch.relu(y + x)

    class Resnet20(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.ModuleDict({"conv": nn.Conv2d(3, 16, 3, 1, 1, bias=False),
                                       "bn": nn.BatchNorm2d(16)})
            inputs = 16
            for number in range(1, 10):
                outputs = 16 << ((number - 1) // 3)
                self.add_module(f"block{number}", Block(inputs, outputs, outputs // inputs))
                inputs = outputs
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            x = torch.relu(self.stem["bn"](self.stem["conv"](x)))
            for number in range(1, 10):
                x = getattr(self, f"block{number}")(x)
            return self.fc(x.mean((2, 3)))

    tensors, texts = {}, {}
    models = torchvision.models
    for name in ("alexnet", "mobilenet_v2", "resnet18", "resnet50", "squeezenet1_1"):
        texts[f"names/{name}_imagenet"] = names_of(getattr(models, name)())
    for name, model, shape in (("lenet5", Lenet5(), (1, 28, 28)),
                               ("resnet20", Resnet20(), (3, 32, 32)),
                               ("squeezenet1_1", models.squeezenet1_1(num_classes=10), (3, 64, 64)),
                               *(extra(models) if "--more" in sys.argv else ())):
        names = names_of(model)
        state = {key: torch.from_numpy(value) for key, value in state_of(names).items()}
        missing, surplus = model.load_state_dict(state, strict=False)
        assert not surplus and all(key.endswith("num_batches_tracked") for key in missing)
        images = np.random.RandomState(3).randint(0, 256, (1, *shape)).astype(np.uint8)
        with torch.no_grad():
            logits = model.eval()(torch.from_numpy(images).float() / 255)
        texts[f"names/{name}"] = names
        tensors[f"images/{name}"] = (np.ascontiguousarray(images.transpose(0, 2, 3, 1)), "NHWC",
                                     "pixel")
        tensors[f"logits/{name}"] = (logits.numpy(), "OI", "1")
    write_archive(str(GOLDEN), "bitloom.golden", 1, tensors,
                  {"": {"made_by": f"torch {torch.__version__}, torchvision "
                                   f"{torchvision.__version__}"}}, texts)


def extra(models):
    """Larger networks, compared once by hand: their weights take seconds to write."""
    return ((name, getattr(models, name)(num_classes=10), (3, 224, 224))
            for name in ("alexnet", "mobilenet_v2", "resnet18", "resnet50"))


def names_of(model):
    return "\n".join(f"{key} {'x'.join(str(size) for size in value.shape)}"
                     for key, value in model.state_dict().items()
                     if not key.endswith("num_batches_tracked")) + "\n"


def main():
    if sys.argv[1:2] == ["state"]:
        np.savez(sys.argv[3], **state_of(read_archive(str(GOLDEN)).texts[f"names/{sys.argv[2]}"]))
    elif sys.argv[1:2] == ["same"]:
        same(*sys.argv[2:])
    else:
        make_golden()


if __name__ == "__main__":
    main()
