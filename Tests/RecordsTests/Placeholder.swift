// Records tests
