"""Figures of a training for those who watch it, without a word to anybody on the training's own thread.

```
the loop ── TrackingHook ──▶ Spool (a file) ◀── a Helper process reads ──▶ MLflow, TensorBoard
```
The helper may be away, or wait for a server that is: the file keeps everything, and whoever ships remembers
how far it got.
"""
