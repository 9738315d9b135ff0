"""tracediff: why the same prompt gives another text at another batch size.

Kernel → reduction order → bits of one module → logits → token, each link shown and measured.
"""

__version__ = "0.1.0"
