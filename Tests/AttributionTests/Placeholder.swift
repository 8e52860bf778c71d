// Attribution tests
