"""The networks that peers train, in PyTorch, with cutis' names."""
import torch
import torchvision
from torch import nn

CLASSES = 7


class MobileNetLstm(nn.Module):
    """MobileNetV2's last map, read by an LSTM place by place (models/mobilenet_v2_lstm.h)."""

    def __init__(self, hidden=128):
        super().__init__()
        self.features = torchvision.models.mobilenet_v2().features
        self.lstm = nn.LSTM(1280, hidden, batch_first=True)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(hidden, CLASSES))

    def forward(self, x):
        steps = self.features(x).flatten(2).transpose(1, 2)
        return self.classifier(self.lstm(steps)[1][0][-1])


NETWORKS = {
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES),
    "mobilenet_v2_lstm49": MobileNetLstm,
    "alexnet": lambda: torchvision.models.alexnet(num_classes=CLASSES, dropout=0.2),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=CLASSES),
}


class TrainingStep:
    """One fixed batch, channels-last; cross-entropy, SGD with momentum 0.9 and weight decay 1e-4. bf16 is autocast.

    mode: eager; compile: torch.compile, max-autotune; cuda-graphs: the whole step recorded once and replayed."""

    def __init__(self, model, batch, size, device, precision="fp32", mode="eager"):
        torch.manual_seed(1)
        torch.backends.cudnn.benchmark = True
        self.device, self.precision = torch.device(device), precision
        self.model = NETWORKS[model]().to(self.device, memory_format=torch.channels_last).train()
        self.images = torch.randn(batch, 3, size, size, device=self.device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(batch, device=self.device) % CLASSES
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.forward = torch.compile(self.loss, mode="max-autotune") if mode == "compile" else self.loss
        self.step = self.recorded() if mode == "cuda-graphs" else self.run

    def loss(self, images, labels):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return nn.functional.cross_entropy(self.model(images), labels)

    def run(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.forward(self.images, self.labels).backward()
        self.optimizer.step()

    def recorded(self):
        # As in PyTorch's notes on CUDA graphs: some steps on another stream first, so that what is made once is there.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.forward(self.images, self.labels).backward()
            self.optimizer.step()
        return graph.replay

    def finish(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()
