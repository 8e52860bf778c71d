// Datanets tests
