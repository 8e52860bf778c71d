// The transport phase of libp2p Noise (libp2p specs, noise/README.md): frames of a 16-bit big-endian length and a
// ciphertext. Both directions work in place: a frame is built where it will be written from and opened where it was
// read, so that a byte is copied once a direction.

package struct NoiseSession: Sendable {
    /// The largest ciphertext of one frame.
    package static let frameBytesMax = 65535
    package static let plaintextBytesMax = frameBytesMax - CipherState.tagBytes
    static let lengthBytes = 2

    private var sending: CipherState
    private var receiving: CipherState

    package init(send: CipherState, receive: CipherState) {
        sending = send
        receiving = receive
    }

    /// How many messages were opened; a refused one does not count.
    package var received: UInt64 { receiving.nonce }

    /// Starts a frame at the end of `out`: append at most `plaintextBytesMax` bytes, then `seal`.
    /// - Returns: where the frame begins.
    func beginFrame(_ out: inout [UInt8]) -> Int {
        out.append(contentsOf: [0, 0])
        return out.count - Self.lengthBytes
    }

    /// Encrypts the frame that begins at `start` and reaches to the end of `out`.
    mutating func seal(_ out: inout [UInt8], frameAt start: Int) throws(NoiseFault) {
        let plaintextStart = start + Self.lengthBytes
        let length = out.count - plaintextStart
        guard length <= Self.plaintextBytesMax else { throw .wrongLength(length) }
        try sending.seal(&out, from: plaintextStart)
        let sealed = length + CipherState.tagBytes
        out[start] = UInt8(truncatingIfNeeded: sealed >> 8)
        out[start + 1] = UInt8(truncatingIfNeeded: sealed)
    }

    /// Seals `plaintext` in as many frames as it takes.
    package mutating func seal(_ plaintext: [UInt8]) throws(NoiseFault) -> [UInt8] {
        var out: [UInt8] = []
        var offset = 0
        while offset < plaintext.count {
            let end = min(plaintext.count, offset + Self.plaintextBytesMax)
            let start = beginFrame(&out)
            out.append(contentsOf: plaintext[offset..<end])
            try seal(&out, frameAt: start)
            offset = end
        }
        return out
    }

    /// Opens the next whole frame of `input` at `cursor` in place.
    /// - Returns: the range of its plaintext, or nil while the frame is not all there.
    package mutating func open(_ input: inout [UInt8], at cursor: inout Int) throws(NoiseFault) -> Range<Int>? {
        guard let frame = Self.nextFrame(input, at: cursor) else { return nil }
        let plaintext = try receiving.open(&input, frame)
        cursor = frame.upperBound
        return plaintext
    }

    /// The range of the next whole frame's body, or nil while it is not all there.
    static func nextFrame(_ input: [UInt8], at cursor: Int) -> Range<Int>? {
        guard input.count - cursor >= lengthBytes else { return nil }
        let length = Int(input[cursor]) << 8 | Int(input[cursor + 1])
        let start = cursor + lengthBytes
        guard input.count - start >= length else { return nil }
        return start..<start + length
    }
}
