"""Network, rows, training and test."""

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


class Net(nn.Module):
    """Two layers over four measures, three species."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(len(FEATURES), 16)
        self.output = nn.Linear(16, 3)

    def forward(self, x):
        return self.output(torch.relu(self.hidden(x)))


def load_data(path, batch_size):
    """Loaders of this node's rows: four fifths to train, one fifth to test."""
    rows = pd.read_parquet(path)
    x = torch.tensor(rows[FEATURES].to_numpy(), dtype=torch.float32)
    y = torch.tensor(rows["species"].to_numpy(), dtype=torch.int64)
    cut = int(0.8 * len(rows))
    trainset, testset = TensorDataset(x[:cut], y[:cut]), TensorDataset(x[cut:], y[cut:])
    return (
        DataLoader(trainset, batch_size=batch_size, shuffle=True),
        DataLoader(testset, batch_size=batch_size),
    )


def train(net, trainloader, epochs, lr, device):
    """Train in place; the mean loss."""
    net.to(device)
    criterion = nn.CrossEntropyLoss().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    net.train()
    running = 0.0
    for _ in range(epochs):
        for x, y in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            running += loss.item()
    return running / (epochs * len(trainloader))


def test(net, testloader, device):
    """Mean loss and accuracy."""
    net.to(device)
    criterion = nn.CrossEntropyLoss()
    right, total = 0, 0.0
    net.eval()
    with torch.no_grad():
        for x, y in testloader:
            outputs = net(x.to(device))
            total += criterion(outputs, y.to(device)).item()
            right += (outputs.argmax(dim=1).cpu() == y).sum().item()
    return total / len(testloader), right / len(testloader.dataset)
