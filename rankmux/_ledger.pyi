from ._ledger_py import Ledger as Ledger
