"""The released forms of the step, written out plainly: what ours is timed and checked against.

P0 is the public PyTorch fall-back: one filter bank per sample in grouped convolutions, the FIR filter with channels
as batch and with zeros inserted, bias, leaky ReLU and gain apart, Adam parameter by parameter. P1 is P0 with a
depthwise FIR filter. Nothing here is meant to be quick, and nothing outside `benchmarks` and `tests` uses it.
"""
