// After a run's last step: which rows the adapter learnt what from. One pass over the rows at the final weights makes the
// influence index that travels with the adapter (Protocol/attribution.md, Influence). A kill loses the pass and nothing else.

import Attribution
import Dispatch
import Primitives
import Training

extension TrainingRun {
    /// - Returns: nil where there are more rows or modules than an index has room for; the run's lines say so.
    func influence(
        _ trainer: Trainer, _ rows: TrainingRows, jsonl: [UInt8], _ spoken: Speaker, _ means: TrainingMeans
    ) throws -> InfluenceIndex? {
        let start = DispatchTime.now().uptimeNanoseconds, count = rows.rows.count
        func seconds() -> Double { Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9 }
        guard count <= TrainingDeskLimit.influenceRowsMax else {
            try spoken.sayNoInfluence("more than \(TrainingDeskLimit.influenceRowsMax) rows")
            return nil
        }
        let pass: InfluencePass
        do throws(InfluenceFault) {
            pass = try InfluencePass(of: trainer, rows: rows.root)
        } catch {
            try spoken.sayNoInfluence("\(error)")
            return nil
        }
        let bytes = InfluenceIndexBuilder.byteCount(pass.projection.shape, rows: count)
        guard let claim = means.room.claim(bytes) else {
            try spoken.sayNoInfluence("\(bytes) bytes are needed; memory.models leaves \(means.room.left)")
            return nil
        }
        defer { withExtendedLifetime(claim) {} }
        let owners = rows.owners(jsonl: jsonl, snapshot: order.datanet)
        var said = 0
        let made: InfluenceIndex?
        do {
            made = try pass.index(of: rows.rows, owners: owners) { done in
                try checkWish()
                try giveWay(means)
                if done * 10 / count > said {
                    said = done * 10 / count
                    try spoken.sayInfluence(done, of: count, seconds: seconds())
                }
                return true
            }
        } catch let fault as InfluenceFault {
            try spoken.sayNoInfluence("\(fault)")
            return nil
        }
        if let made {
            spoken.timed(influence: seconds())
            try spoken.sayInfluence(count, of: count, seconds: seconds(), index: made)
        }
        return made
    }
}
