// Datanets
