// LightClient
