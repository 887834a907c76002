"""Projections and objective of kernel singular value decomposition, token by token from the definition."""

import torch


def reference(projections, tokens, is_causal=False):
    """e and r, (heads, N, rank), and J, (heads,), of one sequence (N, embed_dim) without padding."""
    size, dim = len(tokens), projections.head_dim
    count = min(size, projections.left.shape[1])
    places = [number if is_causal else number * size // count for number in range(count)]
    sides, objectives = [], []
    for head in range(len(projections.left)):
        own = slice(head * dim, (head + 1) * dim)
        found = []
        for linear, weights in (
            (projections.q_proj, projections.left[head]),
            (projections.k_proj, projections.right[head]),
        ):
            inputs = tokens @ linear.weight[own].T + linear.bias[own]
            rows = []
            for token in range(size):
                vector = sum(inputs[: token + 1]) / (token + 1) if is_causal else inputs[token]
                row = torch.zeros_like(weights[0])
                for number, place in enumerate(places):
                    if place <= token or not is_causal:
                        row = row + (tokens[place, own] @ vector) / vector.norm() * weights[number]
                rows.append(row)
            found.append(torch.stack(rows))
        scales = torch.diag(1 / (1 + torch.exp(-projections.scale_logits[head])))
        energies = [(side @ scales).norm(dim=1).square().mean() / 2 for side in found]
        trace = torch.trace(projections.left[head, :count].T @ projections.right[head, :count])
        sides.append(torch.stack(found))
        objectives.append(energies[0] + energies[1] - trace)
    left, right = torch.stack(sides, 1)
    return left, right, torch.stack(objectives)
