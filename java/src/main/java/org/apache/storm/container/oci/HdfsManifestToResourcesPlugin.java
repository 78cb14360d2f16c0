package org.apache.storm.container.oci;

import java.io.IOException;
import java.util.List;
import java.util.Map;

/** Finds the files a manifest names through the native library, for Storm's own container manager as for ours. */
public class HdfsManifestToResourcesPlugin implements OciManifestToResourcesPluginInterface {
    private NativeImages images;

    @Override
    public void init(Map<String, Object> conf) throws IOException {
        images = NativeImages.open(conf);
    }

    @Override
    public List<OciResource> getLayerResources(ImageManifest manifest) throws IOException {
        return images.layers(manifest);
    }

    @Override
    public OciResource getConfigResource(ImageManifest manifest) throws IOException {
        return images.config(manifest);
    }
}
