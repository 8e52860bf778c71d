// What can go wrong between us and the operating system, in libuv's words.

internal import CUV
package import Primitives

package enum TransportFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// The operating system refused: `what` we wanted, and its name for the reason ("EADDRINUSE: address already in use").
    case system(what: String, reason: String)
    /// An address that is not ip4, ip6 or dns with tcp.
    case unsupportedAddress(Multiaddr)
    case timeout
    /// No room for a further connection.
    case tooManyConnections
    case stopped

    init(_ what: String, _ code: Int32) {
        self = .system(what: what, reason: Self.text(code))
    }

    static func text(_ code: Int32) -> String {
        "\(String(cString: uv_err_name(code))): \(String(cString: uv_strerror(code)))"
    }

    package var description: String {
        switch self {
        case .system(let what, let reason): "cannot \(what): \(reason)"
        case .unsupportedAddress(let address):
            "\(address) is not an address of ours; it takes /ip4, /ip6 or /dns with /tcp"
        case .timeout: "no connection in time"
        case .tooManyConnections: "as many connections as allowed are open"
        case .stopped: "the network is shut down"
        }
    }
}
