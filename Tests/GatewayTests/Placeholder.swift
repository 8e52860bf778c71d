// Gateway tests
