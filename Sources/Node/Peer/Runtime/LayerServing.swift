// Which layers this peer computes for others: what the setting `layers.serve` says, as far as its models are here.
//
//     layers.serve = "starter:0-2, big"      these layers of one, as many of the other as its memory holds

import Arithmetic
import Inference
import Logging
import ModelFiles
import NodeCore
import Primitives
import Records
import Synchronization

/// One entry of the setting.
struct LayersWanted: Hashable, Sendable {
    let model: String
    /// Nil: as many as there is memory for.
    let layers: Range<Int>?

    /// `NAME` or `NAME:FIRST-LAST`.
    init?(text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard let name = parts.first, !name.isEmpty, parts.count <= 2 else { return nil }
        model = String(name)
        guard parts.count == 2 else {
            layers = nil
            return
        }
        let ends = parts[1].split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first >= 0, first <= last,
            last < ServedLayers.layersMax
        else { return nil }
        layers = first..<last + 1
    }
}

extension RunningPeer {
    /// Tells the node and the kernels what is served, and answers it for the advert.
    func offerLayers() async -> [ServedLayers] {
        let wanted = settings.list("layers.serve").compactMap { LayersWanted(text: $0) }
        var served: [ServedLayers] = []
        for entry in wanted.prefix(ServingAdvert.stagesMax) {
            if let layers = await serves(entry) { served.append(layers) }
        }
        stages.serve(served)
        let peers = settings.list("layers.for").compactMap { PeerID(text: $0) }
        _ = await handle.perform(.offerLayers(LayerOffer(served: served, peers: peers)))
        return served
    }

    private func serves(_ wanted: LayersWanted) async -> ServedLayers? {
        let found = shelf.list().first {
            $0.kind == .model && ($0.name == wanted.model || $0.manifest.text == wanted.model)
        }
        guard let found else { return nil }
        let precision = inference.precision(of: found.manifest)
        guard let plan = try? WeightPlan(folder: try shelf.folder(found.manifest), precision: precision) else {
            return nil
        }
        let layers: Range<Int>
        if let asked = wanted.layers {
            guard asked.upperBound <= plan.layers.count else {
                logger.warning(
                    "layers.serve = \"\(wanted.model):\(asked.lowerBound)-\(asked.upperBound - 1)\": \(found.name) has layers 0 to \(plan.layers.count - 1)"
                )
                return nil
            }
            layers = asked
        } else {
            layers = await chosen(found.manifest, plan, precision)
        }
        guard !layers.isEmpty else { return nil }
        return ServedLayers(
            model: found.manifest, name: found.name, precision: precision.rawValue, numerics: KernelNumerics.revision,
            layers: layers)
    }

    /// From the first layer that nobody else computes, as many as fit; chosen once.
    private func chosen(_ model: CID, _ plan: WeightPlan, _ precision: Precision) async -> Range<Int> {
        if let known = chosenLayers.withLock({ $0[model] }) { return known }
        let now = NodeDriver.wallTime()
        let offers =
            (try? await handle.read {
                $0.layerOffers(model, precision: precision.rawValue, numerics: KernelNumerics.revision, now: now)
            }) ?? []
        let first = LayerCover(0..<plan.layers.count, offers).missing?.lowerBound ?? 0
        let layers = plan.part(from: first, bytesMax: inference.room.left, hasEnds: false)?.layers ?? 0..<0
        chosenLayers.withLock { $0[model] = layers }
        return layers
    }

    /// Whether this peer could answer from a model now: it fits, or neighbours compute what does not.
    func canAnswer(from model: CID) async -> Bool {
        guard let bytesMax = inference.room.bytesMax else { return true }
        let precision = inference.precision(of: model)
        guard let plan = try? WeightPlan(folder: try shelf.folder(model), precision: precision) else { return true }
        if plan.whole <= bytesMax { return true }
        guard let part = plan.part(from: 0, bytesMax: bytesMax, hasEnds: true) else { return false }
        let now = NodeDriver.wallTime()
        let offers =
            (try? await handle.read {
                $0.layerOffers(model, precision: precision.rawValue, numerics: KernelNumerics.revision, now: now)
            }) ?? []
        return LayerCover(part.layers.upperBound..<plan.layers.count, offers).missing == nil
    }
}
