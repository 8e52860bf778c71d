import Primitives

/// The bytes of a hexadecimal literal in a test.
func bytes(_ hex: String) -> [UInt8] {
    guard let bytes = Hex.decode(hex) else { preconditionFailure("a test vector is not hexadecimal: \(hex)") }
    return bytes
}

func repeated(_ byte: UInt8, _ count: Int) -> [UInt8] { [UInt8](repeating: byte, count: count) }
