// Ledger tests
