// LightClient tests
