// What the guards learn about a request on its way in, carried to its handler.

import Hummingbird
import NIOCore

struct GatewayContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// Whether the request came over the Unix socket, which only the home's owner can open.
    let isOwnersSocket: Bool
    var authority = Authority.none

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        if case .unixDomainSocket = source.channel.localAddress {
            isOwnersSocket = true
        } else {
            isOwnersSocket = false
        }
    }
}
