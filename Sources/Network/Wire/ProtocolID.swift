// The name of a protocol as multistream-select speaks it, such as "/ipfs/ping/1.0.0".

package struct ProtocolID: Hashable, Comparable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    package static let bytesMax = 255

    package let name: String

    /// - Returns: nil unless 1 to 255 bytes of UTF-8 without a line break.
    package init?(_ name: String) {
        guard !name.isEmpty, name.utf8.count <= Self.bytesMax, !name.utf8.contains(0x0a) else { return nil }
        self.name = name
    }

    package init(stringLiteral name: StaticString) {
        guard let made = ProtocolID(name.description) else { preconditionFailure("a protocol ID of ours is malformed") }
        self = made
    }

    package var description: String { name }

    package static func < (left: ProtocolID, right: ProtocolID) -> Bool { left.name < right.name }

    package static let noise: ProtocolID = "/noise"
    package static let yamux: ProtocolID = "/yamux/1.0.0"
    package static let identify: ProtocolID = "/ipfs/id/1.0.0"
    package static let identifyPush: ProtocolID = "/ipfs/id/push/1.0.0"
    package static let ping: ProtocolID = "/ipfs/ping/1.0.0"
}
