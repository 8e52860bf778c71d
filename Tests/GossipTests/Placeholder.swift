// Gossip tests
