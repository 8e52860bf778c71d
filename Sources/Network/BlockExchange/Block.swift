// A block is bytes together with the CID that names them; one exists only if the name fits. Whoever holds a `Block` need
// not check it again.

package import Primitives

package struct Block: Hashable, Sendable {
    package let cid: CID
    package let bytes: [UInt8]

    /// Names `bytes` by hashing them.
    package init(_ codec: CID.Codec, _ bytes: [UInt8]) {
        cid = CID(codec, hashing: bytes)
        self.bytes = bytes
    }

    /// - Returns: nil unless `bytes` is what `cid` names.
    package init?(_ cid: CID, verifying bytes: [UInt8]) {
        guard cid.verifies(bytes) else { return nil }
        self.cid = cid
        self.bytes = bytes
    }
}
