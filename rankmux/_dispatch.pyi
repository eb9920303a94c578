from ._dispatch_py import Observe as Observe
from ._dispatch_py import dispatch as dispatch
from ._dispatch_py import rank_frames as rank_frames
