// BlockExchange tests
