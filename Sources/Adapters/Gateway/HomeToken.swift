// The home's token: whoever can read this file of mode 0600 is the owner. And the other secrets of Protocol/api.md
// section 2, which differ in their prefix only.

package import Primitives

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// A random secret as text: a prefix that says what it is, and 43 characters of base64url (256 bits).
package struct Secret: Sendable, Hashable {
    package enum Kind: String, Sendable, CaseIterable {
        case homeToken = "olt_"
        case sessionToken = "ols_"
        case loginCode = "olc_"
        case apiKey = "olk_"
    }

    static let textBytesMax = 128

    package let text: String

    /// Draws a new one from the system's randomness.
    package static func drawn(_ kind: Kind) -> Secret {
        var random = SystemRandomNumberGenerator()
        let bytes = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        let base64url = Base64.encode(bytes).compactMap { character -> Character? in
            switch character {
            case "+": "-"
            case "/": "_"
            case "=": nil
            default: character
            }
        }
        return Secret(text: kind.rawValue + String(base64url))
    }

    init(text: String) { self.text = text }

    /// What is stored and compared: equal digests tell nothing through their timing.
    package var digest: Digest { Digest(sha256: Array(text.utf8)) }
}

package struct HomeToken: Sendable, Hashable {
    package let text: String

    var digest: Digest { Secret(text: text).digest }

    package init(text: String) { self.text = text }

    /// Reads the token at `path`, or draws one and writes it there with mode 0600.
    /// - Throws: `.tokenFile` where the file is readable by others, is not a token, or cannot be written.
    package static func load(orCreateAt path: String) throws(GatewayFault) -> HomeToken {
        if access(path, F_OK) == 0 { return try read(path) }
        let token = Secret.drawn(.homeToken).text
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .tokenFile(path: path, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        let bytes = Array((token + "\n").utf8)
        guard write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0 else {
            let reason = String(cString: strerror(errno))
            unlink(path)
            throw .tokenFile(path: path, reason: reason)
        }
        return HomeToken(text: token)
    }

    private static func read(_ path: String) throws(GatewayFault) -> HomeToken {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .tokenFile(path: path, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .tokenFile(path: path, reason: String(cString: strerror(errno)))
        }
        guard status.st_mode & 0o077 == 0 else {
            throw .tokenFile(path: path, reason: "other users can read it; run: chmod 600 \(path)")
        }
        var buffer = [UInt8](repeating: 0, count: Secret.textBytesMax)
        let count = fill(&buffer, from: descriptor)
        let text = String(decoding: buffer.prefix(max(0, count)).prefix { $0 > 32 }, as: UTF8.self)
        guard text.hasPrefix(Secret.Kind.homeToken.rawValue), text.utf8.count == 47 else {
            throw .tokenFile(
                path: path, reason: "it does not hold a token; remove it and start the peer to get a new one")
        }
        return HomeToken(text: text)
    }
}

private func fill(_ buffer: inout [UInt8], from descriptor: Int32) -> Int {
    read(descriptor, &buffer, buffer.count)
}
