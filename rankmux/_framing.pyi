from ._framing_py import Batch as Batch, Event as Event, Ledger as Ledger, Observe as Observe
from ._framing_py import cut as cut, dispatch as dispatch, flush as flush
from ._framing_py import rank_frames as rank_frames, receive as receive
