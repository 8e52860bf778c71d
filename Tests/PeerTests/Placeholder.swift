// Peer tests
