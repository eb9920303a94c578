from ._framing_py import Batch as Batch
from ._framing_py import Event as Event
from ._framing_py import cut as cut
from ._framing_py import receive as receive
