// Sequencing tests
