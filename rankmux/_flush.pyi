from ._flush_py import Ring as Ring
from ._flush_py import flush as flush
