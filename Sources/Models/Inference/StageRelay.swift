// The layers of a model that other peers compute, as the engine that coordinates them sees it. The engine's thread waits in
// `compute`: all its sequences share the step, and none could go on without the rows.

package import Records

/// Why a stage's rows do not come. Another peer may still bring them.
package struct StageFault: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

package protocol StageRelay: AnyObject {
    /// Layers that are computed elsewhere, ascending; together with those that are here they are all of the model's.
    var stages: [Range<Int>] { get }
    /// Pages that every stage has room for.
    var pagesMax: Int { get }
    /// The rows that were handed in, after the stage's layers: as many bytes. Blocks.
    func compute(_ work: LayerWork, stage: Int) throws(StageFault) -> [UInt8]
    /// Others take the place of those who failed; their pages are empty. Throws where there is nobody left. Blocks.
    func replace(stage: Int, because fault: StageFault) throws(StageFault)
}

extension StageRelay {
    /// Whether layers that are here and the stages follow each other without a gap.
    func completes(_ here: Range<Int>, of layers: Int) -> Bool {
        var next = 0
        for range in (stages + (here.isEmpty ? [] : [here])).sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard range.lowerBound == next, !range.isEmpty else { return false }
            next = range.upperBound
        }
        return next == layers
    }
}

extension Engine {
    /// Pages that an engine with these limits could ever use where so many stages are elsewhere.
    package static func pagesWanted(
        _ config: ModelConfig, limits: EngineLimits, layers: Int, stages: Int
    ) -> Int {
        let room = PagePool(config: config, bytesMax: limits.cacheBytesMax, layers: layers, stages: stages).pagesMax
        return min(room, max(1, limits.sequencesMax) * PagePool.pages(positions: config.contextTokens))
    }
}
