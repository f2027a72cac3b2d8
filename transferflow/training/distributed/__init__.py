"""Training on many devices: a process for each, started and watched by PyTorch's elastic launch.

```
stages/train  ── launch ──▶  agent  ── elastic launch ──▶  rank 0, rank 1, …  ── together ──▶  the loop
stages/train  ── launch ──▶  agent  ── one ──▶  rank 0  ──▶  the loop, of a deployment's run on one device
```
They exchange JSON through a folder (`exchange`): the job goes down, log lines and errors come up.
On several nodes each has such an agent for each attempt. They meet at an address (`meeting`): the node that
it belongs to owns the run and says when an attempt begins, the others join it (`nodes`, `launch_nodes`).
"""
