DEBTS = {}
