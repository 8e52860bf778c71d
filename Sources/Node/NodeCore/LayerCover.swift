// Who computes which layers: from the first layer that is wanted the peer that reaches furthest, and so on. The same offers
// give the same chain, whoever asks.

package import Primitives
import Records

package struct LayerCover: Hashable, Sendable {
    package struct Part: Hashable, Sendable {
        package let peer: PeerID
        package let layers: Range<Int>

        package init(peer: PeerID, layers: Range<Int>) {
            self.peer = peer
            self.layers = layers
        }
    }

    /// A peer's offer, as its advert says it.
    package struct Offer: Hashable, Sendable {
        package let peer: PeerID
        package let layers: Range<Int>
        package let queued: UInt64

        package init(peer: PeerID, layers: Range<Int>, queued: UInt64) {
            self.peer = peer
            self.layers = layers
            self.queued = queued
        }
    }

    package let parts: [Part]
    /// Layers from here on nobody computes; nil where all are covered.
    package let missing: Range<Int>?

    package init(_ wanted: Range<Int>, _ offers: [Offer]) {
        var parts: [Part] = []
        var next = wanted.lowerBound
        while next < wanted.upperBound {
            let best = offers.filter { $0.layers.contains(next) }
                .min { left, right in
                    let reach = (
                        min(left.layers.upperBound, wanted.upperBound), min(right.layers.upperBound, wanted.upperBound)
                    )
                    if reach.0 != reach.1 { return reach.0 > reach.1 }
                    return (left.queued, left.peer) < (right.queued, right.peer)
                }
            guard let best else { break }
            let end = min(best.layers.upperBound, wanted.upperBound)
            parts.append(Part(peer: best.peer, layers: next..<end))
            next = end
        }
        self.parts = parts
        guard next < wanted.upperBound else {
            missing = nil
            return
        }
        // Up to where somebody takes over again.
        let again = offers.map(\.layers.lowerBound).filter { $0 > next && $0 < wanted.upperBound }.min()
        missing = next..<(again ?? wanted.upperBound)
    }
}

extension Node {
    /// What connected peers offer of a model, ascending by peer.
    package func layerOffers(
        _ model: CID, precision: String, numerics: UInt64, now: WallTime
    ) -> [LayerCover.Offer] {
        catalog.adverts.sorted { $0.key < $1.key }.flatMap { peer, advert -> [LayerCover.Offer] in
            guard advert.expires > now, links.isConnected(peer) else { return [] }
            return advert.stages.filter {
                $0.model == model && $0.precision == precision && $0.numerics == numerics
            }.map { LayerCover.Offer(peer: peer, layers: $0.layers, queued: advert.queued) }
        }
    }
}
