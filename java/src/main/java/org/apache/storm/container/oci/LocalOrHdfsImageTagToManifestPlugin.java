package org.apache.storm.container.oci;

import java.io.IOException;
import java.util.Map;

/**
 * Finds an image's manifest through the native library, for Storm's own container manager as for ours.
 *
 * <p>It reads the keys {@code storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.*}: a local tag map is asked before
 * the remote one. A tag that neither has is an error here; it is never taken for a digest.
 */
public class LocalOrHdfsImageTagToManifestPlugin implements OciImageTagToManifestPluginInterface {
    private NativeImages images;

    @Override
    public void init(Map<String, Object> conf) throws IOException {
        images = NativeImages.open(conf);
    }

    @Override
    public ImageManifest getManifestFromImageTag(String imageTag) throws IOException {
        return images.manifest(imageTag);
    }

    /**
     * Answers the digest of the manifest a tag stands for.
     *
     * @param imageTag the tag
     * @return the digest in hex
     * @throws IllegalStateException if no manifest can be found; the interface leaves no other way to say so
     */
    @Override
    public String getHashFromImageTag(String imageTag) {
        try {
            return images.manifestDigest(imageTag);
        } catch (IOException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }
}
